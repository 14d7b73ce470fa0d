"""What results are worth: functions from arrays and text to numbers."""
