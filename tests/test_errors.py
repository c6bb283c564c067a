import pytest

from regenhance_data.errors import lacks_memory, one_line, redacted


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KeyError(8), "KeyError 8"),
        (ValueError(), "ValueError"),
        (ValueError("[-1, 2]"), "ValueError [-1, 2]"),
        (ValueError("two\n lines"), "two lines"),
    ],
)
def test_an_exception_without_a_word_is_quoted_with_its_type(error, said):
    assert one_line(error) == said


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://me:hush@10.0.0.7:554/a/1: is down", "rtsp://***@10.0.0.7:554/a/1: is down"),
        ("http://h/x?user=me&pwd=hush, and rtsp://h:1/x", "http://h/x?user=***&pwd=***, and rtsp://h:1/x"),
        ("--video 'rtsp://a:hu@sh/@h/x?k=hush'", "--video 'rtsp://***@h/x?k=***'"),
        ("rtsp:/me:hush@h/x", "rtsp://***@h/x"),
        ("rtsp://h:1/user=admin&password=hush&channel=1", "rtsp://h:1/user=***&password=***&channel=***"),
        ("rtsp://h/a/user=admin_password=hush_channel=1.sdp: is down", "rtsp://h/a/user=***: is down"),
        ("rtsp://h/s#password=hush", "rtsp://h/s#password=***"),
        ("http://cam/x?SECRETTOKEN", "http://cam/x?***"),
        ("'http://h/x?T0K/en==': is down, rtsp://h/g?listen: too", "'http://h/x?***': is down, rtsp://h/g?listen: too"),
        ("http://h/x?listening&a=1&hush;too&listen#hush, b", "http://h/x?***&a=***&***;***&listen#***, b"),
        ("http://h/x?pwd=hu?sh&hu:sh (http://h/y?)", "http://h/x?pwd=***&*** (http://h/y?)"),
        ("onnx:/models/x@2.onnx?, a@b: c", "onnx:/models/x@2.onnx?, a@b: c"),
    ],
)
def test_urls_are_shown_without_credentials(text, shown):
    assert redacted(text) == redacted(redacted(text)) == shown


def test_an_error_that_a_library_made_of_too_little_memory_is_known_by_what_it_comes_from():
    assert not lacks_memory(SystemError("returned NULL without setting an exception"))
    odd = SystemError("returned a result with an exception set")
    odd.__cause__ = MemoryError()
    assert lacks_memory(odd)
