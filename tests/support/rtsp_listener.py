"""Waits for a stream that is pushed to an RTSP address, and prints "WIDTHxHEIGHT" of each of its first frames.

In a process of its own: python rtsp_listener.py rtsp://127.0.0.1:PORT/PATH COUNT
"""

import sys

import av

if __name__ == "__main__":
    address, count = sys.argv[1], int(sys.argv[2])
    with av.open(address, options={"rtsp_flags": "listen", "listen_timeout": "20"}) as container:
        for number, frame in enumerate(container.decode(video=0), 1):
            print(f"{frame.width}x{frame.height}", flush=True)
            if number == count:
                break
