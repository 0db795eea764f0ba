r"""A page in the browser: drop the transcript of a meeting, read and edit its minutes, download them.

    python scripts/webapp.py                                                  # rules only, no model
    python scripts/webapp.py --model_path outputs/qwen2.5-7b-mug-lora
    MUG_WEB_USER=me MUG_WEB_PASSWORD=… python scripts/webapp.py --host 0.0.0.0

It listens on this machine only. Another --host is refused unless MUG_WEB_USER and MUG_WEB_PASSWORD are set, since
whoever reaches the page can use the model, and meetings are confidential; the password travels unencrypted, so put a
proxy with HTTPS before it on any network that you do not trust. Nothing is sent anywhere else: no telemetry, no share
links, no fonts of other hosts. Transcripts and minutes stay in memory and in a private folder, and are removed.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import os
import signal
import socket
import sys
import threading
from contextlib import redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from types import FrameType

from mug.command import run
from mug.errors import InputError, Message
from mug.generation.engines import add_options, choose
from mug.generation.model_folder import resolve
from mug.prompting import of_engine

ROOT = Path(__file__).resolve().parent.parent
LOOPBACK = ("127.0.0.1", "localhost", "::1")
USER, PASSWORD = "MUG_WEB_USER", "MUG_WEB_PASSWORD"
SWEEP = 30.0  # seconds between looks for what has expired
OVERHEAD = 1 << 20  # bytes of a request beside the file


def main() -> int:
    """Run the command line; return the exit status."""
    args = parse_args()
    try:
        password = password_of(args)
        check_model(args)
        check_gradio()
        listener = listen(args)
    except InputError as error:
        print(error.message.say(args.lang), file=sys.stderr)
        return 2
    serve(args, listener, password)
    return 0


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1", help="监听的地址 / address to listen on")
    parser.add_argument("--port", type=int, default=7860, help="端口，0 为任一空闲端口 / 0: any that is free")
    parser.add_argument("--max_upload_mb", type=int, default=20, help="文件大小的上限 / greatest size of a file")
    parser.add_argument(
        "--corrections_dir",
        type=Path,
        default=ROOT / "outputs" / "corrections",
        help="用户同意记录的修改写在这里 / where edits are kept that a visitor agrees to keep",
    )
    add_options(parser)
    parser.add_argument("--lang", choices=["zh", "en"], default="zh", help="页面起始的语言 / language at first")
    args = choose(parser)
    if not 0 <= args.port < 65536:
        parser.error("--port 应为 0 到 65535 / should be from 0 to 65535")
    if not 1 <= args.max_upload_mb <= 50:
        parser.error("--max_upload_mb 应为 1 到 50 / should be from 1 to 50")
    return args


def password_of(args: argparse.Namespace) -> tuple[str, str] | None:
    """Return user and password from the environment, None when there are none and the machine itself asks.

    Raises:
        InputError: one of the two is missing, or both for an address that others can reach.
    """
    user, password = os.environ.get(USER, ""), os.environ.get(PASSWORD, "")
    if bool(user) != bool(password) or ":" in user:
        raise InputError(
            f"环境变量 {USER} 和 {PASSWORD} 要同时设置，用户名里不能有冒号。",
            f"Set both {USER} and {PASSWORD} in the environment; the user name must have no colon.",
        )
    if not user and args.host not in LOOPBACK:
        raise InputError(
            f"--host {args.host} 会让别的机器也能打开这个页面，看到会议、占用模型；"
            f"请先设置环境变量 {USER} 和 {PASSWORD}，或不给 --host，只在本机使用。",
            f"--host {args.host} opens this page, its meetings and the model to other machines; set {USER} and "
            f"{PASSWORD} in the environment first, or leave --host out to use it on this machine only.",
        )
    return (user, password) if user else None


def check_model(args: argparse.Namespace) -> None:
    """Find out now whether the model is there; it is loaded when somebody first asks for it.

    Raises:
        InputError: there is no usable model, or what it says of its prompts is damaged.
    """
    if args.backend in ("transformers", "vllm"):
        resolve(args.model_path, args.base_model)
    of_engine(args.backend, args.model_path)


def check_gradio() -> None:
    """Find out whether the page can be made.

    Raises:
        InputError: Gradio is not installed.
    """
    if find_spec("gradio") is None:
        raise InputError(
            "没有安装 Gradio；请先运行 bash setup.sh 并激活环境（source .venv/bin/activate）。",
            "Gradio is not installed; run bash setup.sh and activate the environment (source .venv/bin/activate).",
        )


def listen(args: argparse.Namespace) -> socket.socket:
    """Take the port.

    Raises:
        InputError: it is taken, or the address is not of this machine.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in args.host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((args.host, args.port))
    except OSError as error:
        listener.close()
        raise InputError(
            f"不能在 {args.host} 的端口 {args.port} 上监听（{error.strerror or error}）；请换一个 --port。",
            f"Can't listen on {args.host}, port {args.port} ({error.strerror or error}); try another --port.",
        ) from None
    return listener


def serve(args: argparse.Namespace, listener: socket.socket, password: tuple[str, str] | None) -> None:
    """Serve the page until Ctrl-C or the end of the process."""
    from mug.web.sessions import Sessions

    sessions = Sessions()
    # Gradio reads these when it is imported.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = str(sessions.uploads)
    os.environ["GRADIO_SSR_MODE"] = "False"
    import gradio
    import uvicorn

    from mug.web.page import Desk, build
    from mug.web.running import SharedEngine
    from mug.web.server import Guard, application

    backends = dict.fromkeys([args.backend, "baseline"])
    desk = Desk(
        engines={backend: SharedEngine(args, backend) for backend in backends},
        sessions=sessions,
        sample=ROOT / "dataset" / "sample" / "sample_meeting.vtt",
        corrections=args.corrections_dir,
        most_megabytes=args.max_upload_mb,
        lang=args.lang,
    )
    most = args.max_upload_mb << 20
    app, page = application(sessions), build(desk)
    with redirect_stdout(io.StringIO()):  # mounting prints a line of its own
        gradio.mount_gradio_app(app, page, "/", show_api=False, max_file_size=most, show_error=False, ssr_mode=False)
    hosts = LOOPBACK if args.host in LOOPBACK else None
    config = uvicorn.Config(
        Guard(app, password, hosts, most + OVERHEAD), log_level="warning", timeout_graceful_shutdown=3
    )
    stop = threading.Event()

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            # Each open page keeps a stream of heartbeats open, which Gradio ends when this is set.
            app.routes[-1].app.stop_event.set()
            super().handle_exit(sig, frame)

    def sweep() -> None:
        while not stop.wait(SWEEP):
            sessions.sweep()

    threading.Thread(target=sweep, daemon=True).start()
    address = f"http://{f'[{args.host}]' if ':' in args.host else args.host}:{listener.getsockname()[1]}"
    zh, en = f"页面已就绪：{address}（Ctrl-C 结束）", f"The page is ready: {address} (Ctrl-C ends it)"
    print(Message(zh, en).say(args.lang), flush=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # uvicorn ends well, then raises the signal again
    try:
        asyncio.run(Server(config).serve(sockets=[listener]))
    except KeyboardInterrupt:
        pass
    finally:
        stop.set()
        sessions.close()


if __name__ == "__main__":
    run(main)
