"""What a run learned, in numbers: metrics, the nets they are measured with, and reports over seeds."""
