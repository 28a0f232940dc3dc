"""What the gate keeps from night to night: open comparisons, evidence, and which rows are spent."""
