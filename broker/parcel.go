package broker

import (
	"crypto/ecdh"
	"crypto/hpke"
	"encoding/json"
	"fmt"

	"github.com/pgpatron/pgpatron/state"
	"github.com/pgpatron/pgpatron/state/sealed"
)

// parcel is what a site is given of an instance that moves to it. It travels, and
// lies in etcd, sealed to the brokers of that site.
type parcel struct {
	Instance state.Instance `json:"instance"`
	Cluster  state.Cluster  `json:"cluster"`
	Bindings []boundSecret  `json:"bindings"`
}

// boundSecret is a binding with its password, which the record holds sealed under
// a key of the home's.
type boundSecret struct {
	Binding state.Binding `json:"binding"`
	Secret  state.Secret  `json:"secret"`
}

// parcelKEM is how the key of a parcel is agreed on.
func parcelKEM() hpke.KEM { return hpke.DHKEM(ecdh.X25519()) }

// parcelKey returns a key by which the brokers of a site open parcels: all have
// the same, because all have the same key k.
func parcelKey(k sealed.Key) (hpke.PrivateKey, error) {
	seed, err := k.Derive("pgpatron parcel")
	if err != nil {
		return nil, err
	}
	return parcelKEM().DeriveKeyPair(seed)
}

// sealParcel closes a parcel of one move for the site that published the key.
func sealParcel(p parcel, key []byte, move string) ([]byte, error) {
	to, err := parcelKEM().NewPublicKey(key)
	if err != nil {
		return nil, fmt.Errorf("key of the other site: %w", err)
	}
	plain, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	return hpke.Seal(to, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte(move), plain)
}

// openParcel opens what sealParcel closed for this site, for any of its keys:
// there may be a new one since.
func (c Config) openParcel(n state.MoveNote) (parcel, error) {
	var p parcel
	for _, k := range c.Seal.Keys() {
		key, err := parcelKey(k)
		if err != nil {
			return p, err
		}
		plain, err := hpke.Open(key, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte(n.Move), n.Parcel)
		if err == nil {
			return p, json.Unmarshal(plain, &p)
		}
	}
	return p, fmt.Errorf("what %s has sent is sealed to another key, or was changed", n.From)
}

// pack makes the parcel of an instance as the transaction finds it. What its
// logins are is sealed anew at the other site.
func (d *driver) pack(tx *state.Tx, cluster state.Cluster) (parcel, error) {
	p := parcel{Cluster: cluster}
	var err error
	if p.Instance, _, err = state.Load(tx, state.InstanceKey(cluster.InstanceID), state.JSON[state.Instance]); err != nil {
		return p, err
	}
	for e := range d.tables.bindings.Under(cluster.InstanceID) {
		key := state.BindingKey(cluster.InstanceID, e.Value.BindingID)
		b, exists, err := state.Load(tx, key, state.JSON[state.Binding])
		if err != nil {
			return p, err
		}
		if !exists {
			continue
		}
		secret, err := d.cfg.Seal.Open(b.Sealed, b.SealedBy, key)
		if err != nil {
			return p, err
		}
		p.Bindings = append(p.Bindings, boundSecret{Binding: b, Secret: secret})
	}
	return p, nil
}

// unpack records the bindings of a parcel, sealed as this site does.
func (d *driver) unpack(tx *state.Tx, p parcel) {
	for _, bound := range p.Bindings {
		b := bound.Binding
		key := state.BindingKey(b.InstanceID, b.BindingID)
		b.Sealed, b.SealedBy = d.cfg.Seal.Seal(bound.Secret, key)
		tx.PutJSON(key, b)
	}
}
