"""What tests share: worlds in memory, peers, records of calls."""
