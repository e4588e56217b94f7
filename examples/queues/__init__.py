"""Queue lessons: short scripts over boto3 alone, in the order of docs/examples.md."""
