package broker

// LastingError makes an error one that no repetition mends.
func LastingError(err error) error { return lastingError{err} }
