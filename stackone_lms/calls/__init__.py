"""How an operation is declared and called: its keywords, its query, its body, its pages."""
