// Where somebody goes on after he signed in. Only pages of this house are led back to.

export const inside = (wanted) => (/^\/(studies|photo|account|people|view\/[0-9.]{1,64})$/.test(wanted || "") ? wanted : "/studies");
