"""Output files of commands, as later commands read them: runs, feature files, mask folders, links, exported graphs."""
