"""Where the loop's results go: files, MQTT, RTSP; each sink in a thread of its own."""
