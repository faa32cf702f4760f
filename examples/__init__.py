"""Programs that show how Longtake is used; the tests run them."""
