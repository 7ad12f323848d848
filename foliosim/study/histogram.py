"""Histograms of how many pages of each THP are in use, in ten buckets: built-in tables, and files.

A file has ten numbers, a THP count or a share each, from the least used bucket to the most used one: separated by
blanks, commas or line ends, in a JSON list, or as ``/proc/thp_utilization`` of "THP Shrinker" (A. Zhu, 2022) prints
them: ``Utilized[0-50]: 1331 680884``.  ``#`` begins a comment.
"""
import json
import math
import re

from foliosim.study.base import StudyError

BUCKETS = 10
MOST = 8192  # THPs; more are scaled down
_SHARES = 1000  # THPs that shares are turned into

# A. Zhu, "THP Shrinker" (2022): the example in the documentation of /proc/thp_utilization (first version), and a test
# machine with THP always enabled (cover letter of later ones).
TABLES = {
    "zhu-documentation": (435, 58, 51, 43, 54, 55, 49, 67, 82, 189),
    "zhu-always": (1331, 9, 3, 0, 2, 5, 1, 0, 1, 400),
}

_LINE = re.compile(r"Utilized\[\d+-\d+\]:\s*(\S+)")


def load(text):
    """THPs in each bucket.

    Parameters
    ----------
    text : str
        Name of a table, or a file.

    Returns
    -------
    list of int
        Whole numbers; what are shares, or too many, becomes so many by largest remainders.

    Raises
    ------
    StudyError
        Neither, or not such a file; the message is one line.
    """
    if text in TABLES:
        return list(TABLES[text])
    try:
        with open(text, encoding="utf-8") as file:
            content = file.read(1 << 16)
    except OSError as error:
        raise StudyError(f"histogram={text!r}: {error.strerror}; valid are {', '.join(TABLES)}, or a file") from None
    except ValueError:  # not UTF-8, or a name that no file can have
        raise StudyError(f"histogram={text!r}: not a text file; {_valid()}") from None
    return _whole(_numbers(text, content))


def _valid():
    return f"valid are {BUCKETS} numbers, from the least used tenth to the most used one"


def _numbers(name, content):
    words = _words(content)
    numbers = []
    for word in words:
        try:
            numbers.append(float(word))
        except (TypeError, ValueError, OverflowError):
            raise StudyError(f"histogram={name!r}: {str(word)[:40]!r} is not a number; {_valid()}") from None
    if len(numbers) != BUCKETS:
        raise StudyError(f"histogram={name!r}: {len(numbers)} numbers; {_valid()}")
    if not all(math.isfinite(one) and one >= 0 for one in numbers) or not 0 < sum(numbers) < 1e15:
        raise StudyError(f"histogram={name!r}: the numbers must be 0 or more, not all 0, and below 1e15")
    return numbers


def _words(content):
    try:
        listed = json.loads(content)
        if isinstance(listed, list):
            return listed
    except (ValueError, RecursionError):
        pass
    content = re.sub(r"#.*", "", content)
    printed = _LINE.findall(content)
    return printed or content.replace(",", " ").split()


def _whole(numbers):
    # Largest remainders, where the numbers are no counts.
    total = sum(numbers)
    if all(one == int(one) for one in numbers) and total <= MOST:
        return [int(one) for one in numbers]
    wanted = MOST if total > MOST else _SHARES
    exact = [one * wanted / total for one in numbers]
    counts = [int(one) for one in exact]
    order = sorted(range(BUCKETS), key=lambda i: (counts[i] - exact[i], i))
    for i in order[:wanted - sum(counts)]:
        counts[i] += 1
    return counts


def used_pages(bucket, ptes):
    """Pages in use of a THP in a bucket: its middle.

    Parameters
    ----------
    bucket : int
        0 to 9.
    ptes : int
        Pages of a THP.

    Returns
    -------
    int
    """
    return (2 * bucket + 1) * ptes // (2 * BUCKETS)
