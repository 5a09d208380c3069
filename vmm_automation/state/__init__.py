"""What several actors must agree on: claims, sessions, grants, the suspend right, the ledger, generations."""
