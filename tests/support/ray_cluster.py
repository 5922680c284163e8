"""A Ray cluster of two nodes on this machine, whose second one can be killed.

python -m tests.support.ray_cluster     prints the address; a line on stdin kills the
node, another ends the cluster.
"""

import logging
import sys

from ray.cluster_utils import Cluster


def main() -> None:
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    quick = {"health_check_period_ms": 200, "health_check_failure_threshold": 5}
    head = {"num_cpus": 1, "include_dashboard": False, "_system_config": quick}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    node = cluster.add_node(num_cpus=2)
    print(cluster.address, flush=True)
    sys.stdin.readline()
    cluster.remove_node(node, allow_graceful=False)
    print("killed", flush=True)
    sys.stdin.readline()
    cluster.shutdown()


if __name__ == "__main__":
    main()
