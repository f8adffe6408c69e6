"""The demonstration: a page on this computer, to which a person shows a photo and sees its landmarks."""
