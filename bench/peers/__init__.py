"""Side by side with what people would pick instead: one order saga, written once for amends and once for each peer."""
