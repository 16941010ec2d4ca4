package users

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/state"
)

// Install makes the users, with what they may do and the passwords by their
// names, and then has etcd ask everybody who he is. What is there already is
// made as it should be: rights that a user should not have are taken. It needs a
// password for Root, too.
func Install(ctx context.Context, client *clientv3.Client, all []User, passwords map[string]state.Secret) error {
	for _, u := range append(slices.Clone(all), User{Name: Root}) {
		if passwords[u.Name] == "" {
			return fmt.Errorf("user %s: no password is given", u.Name)
		}
	}
	for _, u := range all {
		if err := u.install(ctx, client, passwords[u.Name]); err != nil {
			return fmt.Errorf("user %s: %w", u.Name, err)
		}
	}
	if err := install(ctx, client, Root, passwords[Root]); err != nil {
		return fmt.Errorf("user %s: %w", Root, err)
	}
	if _, err := client.AuthEnable(ctx); err != nil {
		return fmt.Errorf("having etcd ask for logins: %w", err)
	}
	return nil
}

func (u User) install(ctx context.Context, client *clientv3.Client, password state.Secret) error {
	if err := install(ctx, client, u.Name, password); err != nil {
		return err
	}
	role, err := client.RoleGet(ctx, u.Name)
	if err != nil {
		return err
	}
	wanted := u.permissions()
	for _, p := range role.Perm {
		had := Range{Key: string(p.Key), End: string(p.RangeEnd)}
		if _, keep := wanted[had]; keep {
			continue
		}
		if _, err := client.RoleRevokePermission(ctx, u.Name, had.Key, had.End); err != nil {
			return err
		}
	}
	for r, kind := range wanted {
		if _, err := client.RoleGrantPermission(ctx, u.Name, r.Key, r.End, kind); err != nil {
			return err
		}
	}
	return nil
}

// permissions returns the user's rights as etcd keeps them.
func (u User) permissions() map[Range]clientv3.PermissionType {
	out := map[Range]clientv3.PermissionType{}
	for _, r := range u.Reads {
		out[r] = clientv3.PermissionType(clientv3.PermRead)
	}
	for _, r := range u.Writes {
		out[r] = clientv3.PermissionType(clientv3.PermReadWrite)
	}
	return out
}

// install makes a user with the role of its name, or gives it its password again.
func install(ctx context.Context, client *clientv3.Client, name string, password state.Secret) error {
	if _, err := client.RoleAdd(ctx, name); err != nil && !errors.Is(err, rpctypes.ErrRoleAlreadyExist) {
		return err
	}
	_, err := client.UserAdd(ctx, name, password.Reveal())
	if errors.Is(err, rpctypes.ErrUserAlreadyExist) {
		_, err = client.UserChangePassword(ctx, name, password.Reveal())
	}
	if err != nil {
		return err
	}
	_, err = client.UserGrantRole(ctx, name, name)
	return err
}
