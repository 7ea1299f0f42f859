"""For drills and for users' own tests."""
