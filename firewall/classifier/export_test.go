package classifier

// What the tests choose differently.
const (
	FewCells   = fewCells
	ManyRanges = manyRanges
)

var Build = build
