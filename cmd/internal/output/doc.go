// Package output writes results: findings as text, table, JSON, JSON lines, CSV,
// SARIF 2.1.0 and OCSF 1.8.0, and lists of anything as table, JSON, JSON lines and CSV.
//
// Most callers want [Write] (a [Report] in a [Format]), [Table] (columns that
// know their own width) and [Safe] (an observed string that cannot command the
// terminal). The package promises that no byte an attacker put into a log
// reaches a terminal or a spreadsheet as anything but text, that a machine
// format is one valid document of that format, and that what was skipped or not
// judged stands beside what was found.
//
// It cannot know what a consumer does with a string it decoded again: JSON and
// SARIF carry hostile strings intact, escaped as those formats say.
package output
