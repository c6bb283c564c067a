"""The process that pushes a video to an RTSP server; it reads frames from its standard input.

First a line of JSON, {"address", "size" [height, width]}; then for each frame its time (`TIME`, in ms) and its RGB
bytes. It answers `READY` when the server takes frames, or why it does not. A server that does not answer for `MOST_S`
ends it: FFmpeg holds Python's lock meanwhile, so only a signal of the kernel can.
"""

import json
import signal
import struct
import sys
from fractions import Fraction

import av
import numpy as np

from regenhance_data.io.video import as_tagged, tag_colours

READY, TIME, MOST_S = b"!", "<q", 10
_MS = Fraction(1, 1000)
# little to compute and nothing kept back: the loop needs the cores, the viewer the newest frame
_OPTIONS = {"preset": "ultrafast", "tune": "zerolatency", "crf": "23", "threads": "1", "g": "50"}


def main() -> None:
    about = json.loads(sys.stdin.buffer.readline())
    height, width = about["size"]
    signal.alarm(MOST_S)
    with av.open(about["address"], "w", format="rtsp", options={"rtsp_transport": "tcp"}) as container:
        stream = container.add_stream("libx264", options=_OPTIONS)
        stream.width, stream.height, stream.pix_fmt = width // 2 * 2, height // 2 * 2, "yuv420p"
        stream.codec_context.time_base = _MS
        tag_colours(stream)
        container.start_encoding()
        signal.alarm(0)
        sys.stdout.buffer.write(READY)
        sys.stdout.buffer.flush()
        last_ms, begin = -1, struct.calcsize(TIME)
        while len(read := sys.stdin.buffer.read(begin + 3 * height * width)) == begin + 3 * height * width:
            signal.alarm(MOST_S)
            rgb = np.frombuffer(read, np.uint8, offset=begin).reshape(height, width, 3)
            frame = as_tagged(rgb[: stream.height, : stream.width], stream)
            last_ms = max(last_ms + 1, *struct.unpack(TIME, read[:begin]))
            frame.pts, frame.time_base = last_ms, _MS
            container.mux(stream.encode(frame))
            signal.alarm(0)
        signal.alarm(MOST_S)
        container.mux(stream.encode(None))


if __name__ == "__main__":
    try:
        main()
    except (av.FFmpegError, OSError) as error:  # without the address, which they may quote
        is_unread = isinstance(error, av.error.InvalidDataError)
        print("gives no answer that RTSP knows" if is_unread else error.strerror or type(error).__name__)
        sys.exit(1)
