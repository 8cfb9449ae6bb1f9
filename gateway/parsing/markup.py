"""Finding a tag in text that arrives in pieces, any of which may end inside the tag."""


def before_tag(text: str, tag: str) -> int:
    r"""How much of `text` cannot belong to a tag that has only begun, nor to the newlines in front of it.

    before_tag("so\n<tool", "<tool_call>") == len("so")
    """
    end = len(text)
    if "<" in text[-len(tag) :]:
        begun = range(min(len(tag) - 1, end), 0, -1)
        end -= next((size for size in begun if text.endswith(tag[:size])), 0)
    while end and text[end - 1] == "\n":
        end -= 1
    return end
