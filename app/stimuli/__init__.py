"""What the network is shown: a localizer of categories, and faces of many identities."""
