"""The journal actor and its stores."""
