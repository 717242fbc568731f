"""Where frames come from: recorded ones at their own pace, and cameras. One module a source."""
