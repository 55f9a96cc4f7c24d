"""Rules taken out of the code one by one: the tests that are said to hold each of them must fail."""
