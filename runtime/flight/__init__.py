"""The flight itself: threads that carry frames from a source through the scheduler to the sinks."""
