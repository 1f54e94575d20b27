"""What tests of several rooms share. A test module imports from here, never from another test module."""
