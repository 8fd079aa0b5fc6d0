"""Wrong values in every place of a JSON document."""

import copy

WRONG = (None, True, -1, 1.5, "text", "\x1b", [], [1], ["a", "b", "c"], {}, {"a": 1})


def mutations(document):
    """Copies of a document, each with one value replaced or removed: (place, copy)."""
    for place in _places(document):
        for wrong in (*WRONG, KeyError):
            changed = copy.deepcopy(document)
            parent = changed
            for key in place[:-1]:
                parent = parent[key]
            if wrong is KeyError:
                del parent[place[-1]]
            else:
                parent[place[-1]] = wrong
            yield (*place, wrong), changed


def _places(value, above=()):
    if not isinstance(value, (dict, list)):
        return
    for key in range(len(value)) if isinstance(value, list) else value:
        yield (*above, key)
        yield from _places(value[key], (*above, key))
