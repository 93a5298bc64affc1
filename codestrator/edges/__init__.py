"""The edges: MCP server, command line, screens. Thin: parse, call, print."""
