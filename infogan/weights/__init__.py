"""What remains of a run for those who only use it: nets without BatchNorm, and their files."""
