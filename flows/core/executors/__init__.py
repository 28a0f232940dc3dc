"""Where attempts run: in this thread, in threads, in killable processes; Ray is an adapter."""
