"""What is said: messages, plans, and the rules of a saga's life. Pure values and pure functions only."""
