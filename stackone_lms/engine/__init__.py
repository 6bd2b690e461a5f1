"""What happens to a call: admission, attempts, retries, time limits, and what an answer means."""
