"""What an operator sees on a terminal: the nodes, asked of Redis or of a running exporter."""
