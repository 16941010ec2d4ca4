package broker

import (
	"errors"

	"github.com/pgpatron/pgpatron/state"
)

// platformLogins are the platform's login and the one before it, while that is
// being replaced.
func (c Config) platformLogins() []state.Credentials {
	logins := []state.Credentials{{Username: c.Username, Password: c.Password}}
	if c.PreviousPassword != "" {
		logins = append(logins, state.Credentials{Username: c.PreviousUsername, Password: c.PreviousPassword})
	}
	return logins
}

// validateLogins reports logins that are given by half, and an operator's that
// is the platform's.
func (c Config) validateLogins() []error {
	var errs []error
	if (c.PreviousUsername == "") != (c.PreviousPassword == "") {
		errs = append(errs, errors.New("broker.previous_username, broker.previous_password: must be set both, or neither"))
	}
	if (c.AdminUsername == "") != (c.AdminPassword == "") {
		errs = append(errs, errors.New("broker.admin_username, broker.admin_password: must be set both, or neither"))
	}
	if c.AdminPassword != "" && c.AdminPassword == c.Password {
		errs = append(errs, errors.New("broker.admin_password: must not be the platform's password"))
	}
	return errs
}
