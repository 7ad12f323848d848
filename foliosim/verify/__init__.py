"""The judge: replays what a real kernel was recorded doing and compares every value.

recording  reads and checks files        engine   performs recorded steps on a Machine
leaves     what counts as one value      compare  expected beside got
replay     one scenario                  runner   many, on all cores
words      values and steps as text      report   the summary and the first mismatch, printed
"""
