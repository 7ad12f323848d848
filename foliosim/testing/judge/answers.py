"""What is asked and answered, in the numbers of the core's walk."""
import numpy as np

ANSWER = np.dtype([("pa", "u8"), ("error", "u4")])
WRITE, USER, FETCH = 0x02, 0x04, 0x10
FAULT, BAD_ADDRESS = 0x80000000, 0x40000000
ACCESSES = {"user read": USER, "user write": USER | WRITE, "user fetch": USER | FETCH,
            "supervisor read": 0, "supervisor write": WRITE, "supervisor fetch": FETCH}
