"""What commands leave and later ones read: runs, feature files, mask folders, folders of links."""
