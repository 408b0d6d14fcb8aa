from feedhandler.line._coverage import Coverage

class Splicer(Coverage):
    """The line stage of a JSON channel; `lines` counts the control line, which is the last."""
