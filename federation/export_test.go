package federation

// At has the process tell of every step that it takes as a coordinator.
func (c Config) At(told func(point string)) Config {
	c.at = told
	return c
}
