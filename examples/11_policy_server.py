"""A server for a policy of one's own, in openpi's protocol or OpenVLA-OFT's; it needs nothing of this project.

python examples/11_policy_server.py openpi
python -m tgrpo_envs evaluate openpi:ws://127.0.0.1:8000 --out eval/pi       # in another terminal

python examples/11_policy_server.py oft
python -m tgrpo_envs evaluate oft:http://127.0.0.1:8000 --out eval/oft
"""

import argparse
import base64
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgpack
import numpy as np
from websockets.sync.server import serve

CHUNK = 8  # actions in an answer; openpi's client plays 5 of them, OFT's 8


def act(image_HWC, wrist_HWC, state_8, instruction: str, *, opened: float) -> np.ndarray:  # noqa: ARG001
    """Put your policy here. This one lowers the hand to 10 cm; `opened` is the protocol's word for an open gripper."""
    down = -0.2 if state_8[2] > 0.1 else 0.0
    return np.tile(np.array([0.0, 0.0, down, 0.0, 0.0, 0.0, opened], np.float32), (CHUNK, 1))


def from_msgpack(value):
    """Arrays travel as dictionaries whose keys are bytes."""
    if b"__ndarray__" in value:
        return np.frombuffer(value[b"data"], value[b"dtype"]).reshape(value[b"shape"])
    return value


def to_msgpack(array):
    """The same, outward."""
    return {b"__ndarray__": True, b"data": array.tobytes(), b"dtype": array.dtype.str, b"shape": list(array.shape)}


def openpi(connection) -> None:
    """One connection is one episode. The server speaks first: a dictionary on itself, which may be empty."""
    connection.send(msgpack.packb({}))
    for message in connection:
        seen = msgpack.unpackb(message, object_hook=from_msgpack)
        pictures = seen["observation/image"], seen["observation/wrist_image"]
        actions_C7 = act(*pictures, seen["observation/state"], seen["prompt"], opened=-1.0)
        connection.send(msgpack.packb({"actions": actions_C7}, default=to_msgpack))


class Oft(BaseHTTPRequestHandler):
    """One POST to /act is one question. It does not say which episode asks."""

    def do_POST(self) -> None:
        """Arrays travel as json_numpy writes them; the answer is a list of actions."""
        seen = json.loads(self.rfile.read(int(self.headers["Content-Length"])), object_hook=self.from_json)
        actions_C7 = act(seen["full_image"], seen["wrist_image"], seen["state"], seen["instruction"], opened=1.0)
        answer = json.dumps(actions_C7.tolist()).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_) -> None:
        """No line for every question."""

    @staticmethod
    def from_json(value):
        """An array, or the value."""
        if "__numpy__" in value:
            return np.frombuffer(base64.b64decode(value["__numpy__"]), value["dtype"]).reshape(value["shape"])
        return value


parser = argparse.ArgumentParser(description="Serve a policy that lowers the hand.")
parser.add_argument("protocol", choices=("openpi", "oft"))
parser.add_argument("--port", type=int, default=8000, help="0 = a free one")
options = parser.parse_args()

if options.protocol == "openpi":
    server = serve(openpi, "127.0.0.1", options.port, compression=None, max_size=None)
else:
    server = ThreadingHTTPServer(("127.0.0.1", options.port), Oft)
print("listening on port", server.socket.getsockname()[1], flush=True)
server.serve_forever()
