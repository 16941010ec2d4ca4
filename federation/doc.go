// Package federation lets sites agree on ports.
package federation
