"""Has a kernel compute, as a notebook would: KERNEL-FILE CODE. Runs in the hub's environment."""

import sys

from jupyter_client import BlockingKernelClient

client = BlockingKernelClient(connection_file=sys.argv[1])
client.load_connection_file()
client.start_channels()
client.wait_for_ready(timeout=60)
client.execute(sys.argv[2])
if sys.argv[3:] == ["--wait"]:
    client.get_shell_msg(timeout=60)
client.stop_channels()
