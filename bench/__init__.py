"""How fast, how big: ratios taken in one run, against a hand-written program and the disk itself."""
