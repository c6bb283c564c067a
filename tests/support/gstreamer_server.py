"""An RTSP server with a password at rtsp://127.0.0.1:PORT/gate: GStreamer's, of Debian's package
gir1.2-gst-rtsp-server-1.0, which is for the system's Python.

/usr/bin/python3 gstreamer_server.py PORT WIDTH HEIGHT USER PASSWORD; prints "ready".
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

PICTURES = "videotestsrc is-live=true ! video/x-raw,width={},height={},framerate=20/1"
STREAM = "( %s ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=10 ! rtph264pay name=pay0 pt=96 )"

if __name__ == "__main__":
    port, width, height, user, password = sys.argv[1:]
    Gst.init(None)
    server, auth, token = GstRtspServer.RTSPServer(), GstRtspServer.RTSPAuth(), GstRtspServer.RTSPToken()
    server.set_address("127.0.0.1")
    server.set_service(port)
    token.set_string("media.factory.role", "viewer")
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    server.set_auth(auth)
    permissions = GstRtspServer.RTSPPermissions()
    permissions.add_role("viewer")
    for permission in ("access", "construct"):
        permissions.add_permission_for_role("viewer", f"media.factory.{permission}", True)
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(STREAM % PICTURES.format(width, height))
    factory.set_permissions(permissions)
    server.get_mount_points().add_factory("/gate", factory)
    server.attach(None)
    print("ready", flush=True)
    GLib.MainLoop().run()
